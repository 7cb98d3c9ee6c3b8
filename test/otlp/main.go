// Command otlp is the OpenTelemetry Collector's OTLP receiver and nothing else: what it takes over HTTP it prints as lines of OTLP/JSON, one
// for each request. It ends when its standard input does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:4318", "`address` to take OTLP over HTTP on")
	flag.Parse()
	if err := run(context.Background(), *listen, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "otlp:", err)
		os.Exit(1)
	}
}

// run receives until in ends. The first line it prints is "listening", when it does.
func run(ctx context.Context, listen string, in io.Reader, out io.Writer) error {
	factory := otlpreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	cfg.Protocols.HTTP.GetOrInsertDefault().ServerConfig.NetAddr.Endpoint = listen
	if err := cfg.Validate(); err != nil {
		return err
	}
	var mu sync.Mutex
	marshaler := ptrace.JSONMarshaler{}
	print, err := consumer.NewTraces(func(_ context.Context, td ptrace.Traces) error {
		line, err := marshaler.MarshalTraces(td)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		_, err = out.Write(append(line, '\n'))
		return err
	})
	if err != nil {
		return err
	}
	settings := receiver.Settings{
		ID: component.NewID(factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings(), BuildInfo: component.NewDefaultBuildInfo(),
	}
	r, err := factory.CreateTraces(ctx, settings, cfg, print)
	if err != nil {
		return err
	}
	if err := r.Start(ctx, componenttest.NewNopHost()); err != nil {
		return err
	}
	fmt.Fprintln(out, "listening")
	_, err = io.Copy(io.Discard, in)
	if stopped := r.Shutdown(ctx); err == nil {
		err = stopped
	}
	return err
}
