package streams

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// impatient ends streams at ages that no option allows.
func impatient(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	p := &policy{maxAge: []rule{{d: time.Duration(1+rand.IntN(20)) * time.Millisecond}}, retryDelay: defaultRetryDelay}
	return p.intercept(srv, ss, info, h)
}

// Streams that end at any moment, in real time: messages arrive whole, in order, and none after
// the end, which is always polite.
func TestEndAtAnyMoment(t *testing.T) {
	r, stop := newRig(t, handlers{"Chat": echo}, []grpc.StreamServerInterceptor{impatient}, nil, OnDrain(Methods(), 0))
	defer stop()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				r.converse()
			}
		})
	}
	wg.Wait()
}

// converse sends and receives at the same time until the stream ends.
func (r *rig) converse() {
	st, err := r.cc.NewStream(r.t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Streams/Chat")
	if err != nil {
		r.t.Error(err)
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for i := 0; st.SendMsg(wrapperspb.String(fmt.Sprint(i))) == nil; i++ {
			if i%8 == 0 {
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			}
		}
	})
	for i := 0; ; i++ {
		m := new(wrapperspb.StringValue)
		if err := st.RecvMsg(m); err != nil {
			r.polite(st, err, whyAged)
			return
		}
		if m.GetValue() != fmt.Sprint(i) {
			r.t.Errorf("message %d is %q", i, m.GetValue())
		}
	}
}
