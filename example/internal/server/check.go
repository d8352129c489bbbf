package server

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	checkTimeout = 10 * time.Second
	checkMost    = 64 << 10 // bytes of the answer that are printed
)

// check asks url, prints the answer, and returns exitOK if its status is 200. Like the kubelet's
// probes it verifies no certificate: it sends nothing, and trusts the answer with nothing.
func check(url string, stdout, stderr io.Writer) int {
	client := &http.Client{
		Timeout: checkTimeout,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives: true,
		},
	}
	resp, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(stderr, "server: -check:", oneLine(err))
		return exitFail
	}
	defer resp.Body.Close()
	_, _ = io.Copy(stdout, io.LimitReader(resp.Body, checkMost))
	if resp.StatusCode != http.StatusOK {
		fmt.Fprintf(stderr, "server: -check: %s answers %s\n", url, resp.Status)
		return exitFail
	}
	return exitOK
}
