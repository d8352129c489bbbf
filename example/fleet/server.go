package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/rebalance"
)

// ServerSpec describes a server to start. Command, Host and the ports are required.
type ServerSpec struct {
	// Command runs example/server or the sidecar; flags are appended to it.
	Command []string
	// Name is the name of the pod.
	Name string
	// Host is the address of the pod, such as 127.0.1.1.
	Host string
	// GRPCPort and HTTPPort are the ports that it serves on at Host.
	GRPCPort, HTTPPort int
	// GRPCFlag is the flag of Command for the gRPC address; empty means -grpc.
	GRPCFlag string
	// Args are further flags.
	Args []string
	// Log is called with each line of its log. It may be nil.
	Log func(line string)
}

// Server is a server process.
type Server struct {
	*Proc

	Spec ServerSpec
}

// readyPoll is how often the readiness of a starting server is checked.
const readyPoll = 20 * time.Millisecond

// StartServer starts a server and returns once it is ready. If the server exits, or
// is not ready before ctx is done, it is killed; the error has the last line of its log.
func StartServer(ctx context.Context, spec ServerSpec) (*Server, error) {
	s := &Server{Spec: spec}
	logged := &lastLine{next: spec.Log}
	argv := append([]string{}, spec.Command...)
	argv = append(argv, cmp.Or(spec.GRPCFlag, "-grpc"), s.GRPC(), "-http", s.HTTP(), "-name", spec.Name)
	var err error
	if s.Proc, err = Start(append(argv, spec.Args...), []string{"POD_IP=" + spec.Host}, nil, logged.add); err != nil {
		return nil, err
	}
	if err := s.waitReady(ctx); err != nil {
		s.Kill()
		<-s.Done()
		return nil, fmt.Errorf("fleet: server %s: %w: %s", spec.Name, err, logged)
	}
	return s, nil
}

// GRPC returns the address of its gRPC port.
func (s *Server) GRPC() string {
	return net.JoinHostPort(s.Spec.Host, strconv.Itoa(s.Spec.GRPCPort))
}

// HTTP returns the address of its health endpoint.
func (s *Server) HTTP() string {
	return net.JoinHostPort(s.Spec.Host, strconv.Itoa(s.Spec.HTTPPort))
}

func (s *Server) waitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		if _, err := get(ctx, "http://"+s.HTTP()+"/readyz"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-s.Done():
			return fmt.Errorf("exited with status %d", s.ExitCode())
		case <-tick.C:
		}
	}
}

// Status fetches /statusz.
func (s *Server) Status(ctx context.Context) (rebalance.Status, error) {
	var st rebalance.Status
	body, err := get(ctx, "http://"+s.HTTP()+"/statusz")
	if err == nil {
		err = json.Unmarshal(body, &st)
	}
	if err != nil {
		return st, fmt.Errorf("fleet: %s: %w", s.Spec.Name, err)
	}
	return st, nil
}

const (
	getTimeout = 2 * time.Second
	maxBody    = 4 << 20
)

func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return body, err
}

// lastLine keeps the last line of a log: it usually says why a process exited.
type lastLine struct {
	next func(string) // may be nil

	mu   sync.Mutex
	line string
}

func (l *lastLine) add(line string) {
	l.mu.Lock()
	l.line = line
	l.mu.Unlock()
	if l.next != nil {
		l.next(line)
	}
}

func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}
