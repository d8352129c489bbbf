// Package arch has no code: its test holds which package may import which.
package arch
