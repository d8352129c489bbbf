package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// roleRule is the rule that the Role of the pods' service account needs.
const roleRule = `{apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}`

// maxText bounds the part of the server's own message that an error quotes.
const maxText = 512

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "..."
	}
	return s
}

// explain returns why a request failed and how to fix it. The same failure gives the same
// text each time, since only changes are logged.
func explain(err error, verb, server, namespace string) string {
	message := clip(err.Error())
	cannot := fmt.Sprintf("cannot %s EndpointSlices in namespace %q", verb, namespace)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("%s: the Role of this pod's service account lacks the verb %q, add the rule %s (403: %s)",
			cannot, verb, roleRule, message)
	case apierrors.IsUnauthorized(err):
		return cannot + ": the API server does not accept this pod's token or certificate (401): " +
			"check that the service account exists, in this cluster"
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("%s: check that the namespace exists, and that Kubernetes is 1.21 or later (404: %s)", cannot, message)
	}
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		return fmt.Sprintf("%s: the API server answers %d: %s", cannot, s.Status().Code, message)
	}
	if server == "" {
		return message
	}
	return fmt.Sprintf("%s: the API server at %s %s", cannot, server, reason(err))
}

// reason describes a failure of the network. It leaves out details that differ each time,
// such as the local port.
func reason(err error) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var slow net.Error
	switch {
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &verify):
		return "presents a certificate that cannot be verified: " + clip(bare(err).Error()) +
			"; check the CA of the service account or the kubeconfig"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return "does not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closes the connection without an answer"
	}
	return "cannot be reached: " + clip(bare(err).Error())
}

// answered reports whether err is an answer of the API server.
func answered(err error) bool {
	var s apierrors.APIStatus
	return errors.As(err, &s)
}

// bare returns err without the URL and the addresses that Go adds to it.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var o *net.OpError
	if errors.As(err, &o) {
		return o.Err
	}
	return err
}
