// Package pass passes the bytes of two connections on to each other. It changes none, and keeps
// none: what one side cannot take yet stays with the other side.
//
//	what one side does          what the other side sees
//	sends                       the same bytes, in order
//	stalls, reads slowly        back-pressure, through the buffers of the kernel
//	ends its side (FIN)         the end of that side, after all bytes; it may go on sending
//	breaks (RST)                a reset, where its connection can carry one
//
// An idle connection holds no buffer.
package pass
