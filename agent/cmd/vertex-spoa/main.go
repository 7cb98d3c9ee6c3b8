// Command vertex-spoa answers HAProxy's question whether a caller may make a Vertex AI call, and with which Google access token.
//
//	vertex-spoa serve        answer HAProxy until SIGTERM
//	vertex-spoa check        say whether the configuration and the policy load, and everything that is wrong with them
//	vertex-spoa doctor       try out the agent's identity, the issuers and the roles, and say what mends what does not work
//	vertex-spoa healthcheck  ask a running agent whether it is ready
//	vertex-spoa policy       check, test and format policies
//	vertex-spoa audit        ask audit logs who used what, and watch them
//	vertex-spoa version      say which build this is
//
// Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 configuration or policy does not load, 4 a test of a policy failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// version is set at link time.
var version = "unknown"

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitNotLoad = 3
	exitTests   = 4
)

const usage = `usage: vertex-spoa COMMAND [flags]

commands:
  serve        answer HAProxy until SIGTERM; SIGHUP reloads the policy and reopens the audit log
  check        say whether the configuration and the policy load
  doctor       try out the agent's identity, the issuers and the roles, and say what mends what does not work
  healthcheck  ask a running agent whether it is ready
  policy       check, test and format policies; "vertex-spoa policy" lists what else
  audit        ask audit logs who used what; "vertex-spoa audit" lists what else
  version      say which build this is

"vertex-spoa COMMAND -h" lists the flags of a command.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		_, _ = io.WriteString(stderr, usage)
		return exitUsage
	}
	var err error
	switch command, rest := args[0], args[1:]; command {
	case "serve":
		err = serve(context.Background(), rest, stderr)
	case "check":
		err = check(rest, stdout)
	case "doctor":
		err = runDoctor(context.Background(), rest, stdout)
	case "healthcheck":
		err = healthcheck(rest, stdout)
	case "policy":
		err = runPolicy(rest, streams{in: os.Stdin, out: stdout, err: stderr})
	case "audit":
		err = runAudit(rest, streams{in: os.Stdin, out: stdout, err: stderr})
	case "version":
		_, err = fmt.Fprintf(stdout, "vertex-spoa %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	case "help", "-h", "-help", "--help":
		_, err = io.WriteString(stdout, usage)
	default:
		err = usageError(fmt.Sprintf("unknown command %q\n\n%s", command, usage))
	}
	return report(err, stdout, stderr)
}

// usageError is a mistake in the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// loadError is a configuration or a policy that does not load.
type loadError struct{ error }

func (e loadError) Unwrap() error { return e.error }

// helpText is the flags of a command, which were asked for.
type helpText string

func (e helpText) Error() string { return string(e) }

func report(err error, stdout, stderr io.Writer) int {
	var (
		asUsage usageError
		asLoad  loadError
		asHelp  helpText
		asExit  exitError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &asHelp):
		_, _ = io.WriteString(stdout, asHelp.Error())
		return exitOK
	case errors.As(err, &asUsage):
		_, _ = fmt.Fprintf(stderr, "vertex-spoa: %s\n", strings.TrimSuffix(err.Error(), "\n"))
		return exitUsage
	case errors.As(err, &asLoad):
		_, _ = io.WriteString(stderr, paint(stderr, strings.TrimSuffix(err.Error(), "\n")+"\n"))
		return exitNotLoad
	case errors.As(err, &asExit):
		_, _ = fmt.Fprintf(stderr, "vertex-spoa: %v\n", err)
		return asExit.code
	}
	_, _ = fmt.Fprintf(stderr, "vertex-spoa: %v\n", err)
	return exitFailed
}

// parse parses args and turns a wrong flag into a usageError, and -h into a helpText.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return helpText(flagHelp(flags))
	case err != nil:
		return usageError(fmt.Sprintf("%s: %v (see vertex-spoa %s -h)", flags.Name(), err, flags.Name()))
	case flags.NArg() > 0:
		return usageError(fmt.Sprintf("%s: unexpected argument %q", flags.Name(), flags.Arg(0)))
	}
	return nil
}

func flagHelp(flags *flag.FlagSet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: vertex-spoa %s [flags]\n\n", flags.Name())
	flags.VisitAll(func(f *flag.Flag) {
		fmt.Fprintf(&b, "  --%s", f.Name)
		if f.DefValue != "" {
			fmt.Fprintf(&b, "=%s", f.DefValue)
		}
		fmt.Fprintf(&b, "\n        %s\n", f.Usage)
	})
	return b.String()
}
