// Package peerview holds what a pod knows of the other pods of its service. That is the
// membership from a source, the pods' load reports, and how many connections of given
// clients they have.
//
// A [Book] holds all of it behind one mutex. [Book.Run] watches the source and polls the
// pods; everything else returns at once. [Rota] decides which pods to poll, and [Summary]
// how long a report counts. Both need neither lock nor clock, so that a simulation can run
// the code that ships.
package peerview
