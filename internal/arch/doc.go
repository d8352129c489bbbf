// Package arch holds no code. Its tests fix which package may import which.
package arch
