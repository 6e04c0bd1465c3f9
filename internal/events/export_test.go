package events

// WalkStatements are the statements of walks, with the index that each goes along.
func WalkStatements() map[string]string {
	return map[string]string{
		wayOfAll.count: "_pkey", wayOfAll.find: "_pkey", wayOfType.count: "_type_id_idx", wayOfType.find: "_type_id_idx",
		wayOfTenant.count: "_tenant_id_idx", wayOfTenant.find: "_tenant_id_idx",
	}
}
