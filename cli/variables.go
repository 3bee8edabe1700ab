package cli

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v3"
)

// variablePrefix may precede the name of every setting in the environment, and then takes
// precedence: other programs set variables like HOST too.
const variablePrefix = "TCP_LOG_"

// A setting is a setting in the environment, by its name without the prefix.
type setting string

// variable returns the source of a flag that the environment may set too.
func variable(name string) cli.ValueSourceChain { return cli.NewValueSourceChain(setting(name)) }

// key returns the name of the variable that has the value, with or without the prefix.
func (s setting) key() string {
	if _, ok := os.LookupEnv(variablePrefix + string(s)); ok {
		return variablePrefix + string(s)
	}
	return string(s)
}

// value returns the value, "" if there is none.
func (s setting) value() string { return os.Getenv(s.key()) }

// Lookup and the methods below make a setting a source of values of package cli.
func (s setting) Lookup() (string, bool) { return os.LookupEnv(s.key()) }
func (s setting) IsFromEnv() bool        { return true }
func (s setting) Key() string            { return string(s) } // for the help
func (s setting) String() string         { return fmt.Sprintf("environment variable %q", s.key()) }
func (s setting) GoString() string       { return s.String() }

// The settings that the commands read without a flag.
const (
	hostSetting  = setting("HOST")
	portSetting  = setting("PORT")
	tokenSetting = setting("TOKEN")
)

// hostOrigin says after a semicolon which variable a host name is from, or "" if none, and
// what to do if the name is useless.
func hostOrigin(host string) string {
	switch key := hostSetting.key(); {
	case host == "" || host != hostSetting.value():
		return ""
	case key == string(hostSetting):
		return "; it is from the variable HOST, which other programs set too: set " + variablePrefix + "HOST, which wins"
	default:
		return "; it is from the variable " + key
	}
}

// hostAdvice says after a semicolon what to do about a host name that has no address.
func hostAdvice(cmd *cli.Command, host string) string {
	if origin := hostOrigin(host); origin != "" {
		return origin
	}
	if cmd.Name == "append" {
		return "; check the name of the host; " + entryHelp
	}
	return "; check the name of the host"
}
