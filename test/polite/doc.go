// Package polite tests serveropts/streams with real server processes: clients with streams that
// never end, on two pods that become four. README.md has its figures.
package polite
