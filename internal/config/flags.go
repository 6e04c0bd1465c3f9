package config

import (
	"reflect"
	"slices"
	"strings"
)

// Field describes one setting.
type Field struct {
	Env     string // variable
	Flag    string // without the dashes
	Default string
	Help    string
	Bool    bool
	Secret  bool
	Cmds    []string // subcommands that have the flag
}

// Fields lists all settings in the order of Config.
func Fields() []Field {
	t := reflect.TypeFor[Config]()
	fields := make([]Field, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("env")
		fields = append(fields, Field{
			Env: name, Flag: flagOf(name), Default: f.Tag.Get("envDefault"), Help: f.Tag.Get("help"),
			Bool: f.Type.Kind() == reflect.Bool, Secret: f.Tag.Get("secret") == "true", Cmds: strings.Fields(f.Tag.Get("cmd")),
		})
	}
	return fields
}

// FieldsOf lists the settings of a subcommand.
func FieldsOf(cmd string) []Field {
	return slices.DeleteFunc(Fields(), func(f Field) bool { return !slices.Contains(f.Cmds, cmd) })
}

func flagOf(variable string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, "SIGNALSTACK_")), "_", "-")
}
