package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// crowd is many callers of POST /events, each with a connection of its own and one
// request at a time.
type crowd struct {
	addr     string
	mu       sync.Mutex
	accepted []string
	refused  int
	wrong    []string // answers that are neither
}

// call sends one event and takes up the answer. Who is cut off comes again: a refusal
// that comes before the body is through is lost where its caller is slow to read it.
func (c *crowd) call(ctx context.Context, body []byte) {
	for try := 1; ; try++ {
		status, header, answer, err := c.ask(ctx, body)
		cut := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		switch {
		case cut && try < 20:
			continue
		case err != nil:
			c.take(0, nil, err.Error())
		default:
			c.take(status, header, answer)
		}
		return
	}
}

func (c *crowd) ask(ctx context.Context, body []byte) (status int, header http.Header, answer string, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return 0, nil, "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	go func() { // a refusal may come before the body is through
		head := fmt.Sprintf("POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
		_, _ = conn.Write([]byte(head))
		_, _ = conn.Write(body)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text), err
}

func (c *crowd) take(status int, h http.Header, answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case status == http.StatusCreated:
		_, id, _ := strings.Cut(answer, `"id":"`)
		c.accepted = append(c.accepted, id[:min(len(id), len(uuid.UUID{}.String()))])
	case status == http.StatusServiceUnavailable && h.Get("Retry-After") != "":
		c.refused++
	default:
		c.wrong = append(c.wrong, fmt.Sprint(status, " ", answer))
	}
}

// peakHeap measures the heap until the function it gives is called.
func peakHeap() func() uint64 {
	var peak atomic.Uint64
	ctx, stop := context.WithCancel(context.Background())
	var measuring sync.WaitGroup
	measuring.Go(func() {
		for ctx.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapAlloc))
			pause(ctx, 20*time.Millisecond)
		}
	})
	return func() uint64 {
		stop()
		measuring.Wait()
		return peak.Load()
	}
}

// While the database stands still, 2,000 callers push 400 MiB of bodies, which would
// be more than a gigabyte in memory. Not parallel: the heap and the goroutines are those
// of the whole process.
func TestMemoryIsBoundedWhileTheDatabaseStandsStill(t *testing.T) { //nolint:paralleltest // see above
	cfg, err := config.Load(nil, map[string]string{"DATABASE_URL": pgtest.URL(t), "SIGNALSTACK_ADDR": "127.0.0.1:0"})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Serve: true, Ready: func(url string) { ready <- url }})
	}()
	var c crowd
	select {
	case url := <-ready:
		c.addr = strings.TrimPrefix(url, "http://")
	case err := <-ended:
		require.NoError(t, err)
	}
	db := pgtest.Open(t, cfg.DatabaseURL)
	small := []byte(`{"type":"a"}`)
	large := []byte(`{"type":"a","data":"` + strings.Repeat("x", 250<<10) + `"}`)
	c.call(ctx, small)
	require.Len(t, c.accepted, 1, c.wrong)
	goroutines := runtime.NumGoroutine()

	tx, err := db.Beginx()
	require.NoError(t, err)
	_, err = tx.ExecContext(ctx, `LOCK TABLE signalstack.events IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	peak := peakHeap()
	var calling sync.WaitGroup
	for i := range 2000 {
		calling.Go(func() { c.call(ctx, [][]byte{large, large, large, large, small}[i%5]) })
	}
	calling.Wait()
	high := peak()
	require.Less(t, high, uint64(450<<20), "%d MiB", high>>20)
	require.Empty(t, c.wrong)
	require.Equal(t, 2000, c.refused)

	require.NoError(t, tx.Rollback())
	require.Eventually(t, func() bool {
		before := len(c.accepted)
		for range 20 {
			calling.Go(func() { c.call(ctx, large) })
		}
		calling.Wait()
		return len(c.accepted) == before+20
	}, 60*time.Second, 10*time.Millisecond, "callers are accepted again")
	require.Empty(t, c.wrong)
	var stored int
	require.NoError(t, db.Get(&stored, `SELECT count(*) FROM signalstack.events WHERE id = ANY ($1::uuid[])`, pq.StringArray(c.accepted)))
	require.Equal(t, len(c.accepted), stored)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+10 }, 60*time.Second, 20*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
}
