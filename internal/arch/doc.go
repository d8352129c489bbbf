// Package arch has no code. Its tests enforce which package may import which.
package arch
