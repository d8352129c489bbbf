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

// roleRule is what the Role of the pods' service account must have.
const roleRule = `{apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}`

// maxText is how much of the server's own words is shown.
const maxText = 512

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "..."
	}
	return s
}

// explain says why a request failed and what to do. The same failure gives the same
// text: the log has a line for each change only.
func explain(err error, verb, server, namespace string) string {
	said := clip(err.Error())
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("the API server does not allow to %s endpointslices in namespace %q (%s): "+
			"the Role of this pod's service account needs the rule %s", verb, namespace, said, roleRule)
	case apierrors.IsUnauthorized(err):
		return "the API server does not accept this pod's token or certificate (401): was the service account deleted, " +
			"or is it another cluster's?"
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("the API server has no endpointslices of discovery.k8s.io/v1 in namespace %q (404: %s): "+
			"does the namespace exist, and is it Kubernetes 1.21 or later?", namespace, said)
	}
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		return fmt.Sprintf("the API server answers %d to %s: %s", s.Status().Code, verb, said)
	}
	if server == "" {
		return said
	}
	return fmt.Sprintf("the API server at %s %s", server, reason(err))
}

// reason drops what differs from try to try, such as the port of this end.
func reason(err error) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var slow net.Error
	switch {
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &verify):
		return "shows a certificate that does not fit: " + clip(bare(err).Error()) +
			"; check the CA of the service account or the kubeconfig"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return "does not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closes the connection without an answer"
	}
	return "cannot be reached: " + clip(bare(err).Error())
}

// answered tells whether err is the API server's own word.
func answered(err error) bool {
	var s apierrors.APIStatus
	return errors.As(err, &s)
}

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
