package external

// Asking is how many claims wait.
func Asking(a *API) int {
	a.desk.mu.Lock()
	defer a.desk.mu.Unlock()
	return a.desk.asking
}
