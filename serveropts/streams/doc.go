// Package streams ends long streams politely, so that they follow their clients to other pods:
//
//	polite, err := streams.StreamServerInterceptor(
//		streams.OnDrain(nil, 10*time.Second),
//		streams.MaxAge(streams.Methods("/hello.v1.HelloService/Watch"), time.Hour),
//	)
//	srv := grpc.NewServer(append(serveropts.Options(bal, creds), grpc.ChainStreamInterceptor(polite))...)
//
// A drained connection stays open until its streams end, and a stream without end never does.
// With [OnDrain], such a stream ends a while after its connection was drained. With [MaxAge],
// it ends at an age, and its connection stays in service.
//
// # How a stream ends
//
// The client gets status UNAVAILABLE with a google.rpc.RetryInfo detail, and has to open the
// stream again. Retries of the client library do not do so: gRFC A6 forbids them once the
// client has got a header.
//
// The handler's context is canceled with that status as its cause. RecvMsg returns the
// status, also to a handler that is waiting in it, and so does every further SendMsg. Once the
// handler returns because of that, the client gets the status. Nothing forces a handler that
// goes on: its stream goes on, too.
//
//   - A handler that returns nil ends its stream with OK.
//   - A status error of the handler's own stays. Only an error that comes from the canceled
//     context is replaced: the status itself, context.Canceled, and code CANCELED.
//   - A SendMsg that waits for a slow client is not interrupted, and no message is cut in two.
//     It returns when the client reads. The trailer could not overtake the message anyway.
//   - A message that has been received is delivered before the end.
//   - A RecvMsg that was still waiting at the end may write to its message until the handler has
//     returned. Neither read that message nor put it into a pool.
//
// # What it costs
//
// Unary RPCs never pass through the interceptor. A stream that no option matches costs the
// matching, without an allocation. (grpc-go itself allocates the StreamServerInfo, 32 bytes a
// stream, for a server that has any stream interceptor.)
//
// In grpc-go, only the end of its RPC releases a waiting RecvMsg of a server. So where a client
// streams and an option matches, each stream has a goroutine that receives, from the handler's
// first RecvMsg on, and hands each message over. [SelfEnding] saves that.
package streams
