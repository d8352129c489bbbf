// Package peerview is what a pod knows of the other pods of its service: the membership
// that a source reports, the load reports that the pods answer each other with, and how
// many connections of given clients they hold.
//
// A [Book] holds all of it behind one mutex. [Book.Run] watches the source and polls the
// pods; everything else returns at once. What needs no lock and no clock is apart, so that
// a simulation runs the code that ships: [Rota] decides which pods to poll, [Summary]
// how long a report counts.
package peerview
