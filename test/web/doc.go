// Package web tests web servers as their clients see them: pods on loopback that serve net/http,
// connect-go and gRPC through ServeHTTP, and grow from two to five under load. The same load on
// bare servers shows what fails without evenkeel.
package web
