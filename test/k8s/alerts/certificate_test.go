//go:build linux && e2e

package alerts

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
)

// certSecret is the Secret with the certificate of the pods.
const certSecret = "hello-peers"

// certificate writes a certificate that began two hours ago and has this much of its life left.
func (r *release) certificate(t *testing.T, left time.Duration) {
	t.Helper()
	ca := certstest.NewCA(t, "ca")
	chain, key := ca.Issue("pods", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(left)
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: certSecret}, Data: map[string][]byte{
		"tls.crt": chain, "ca.crt": ca.PEM, "tls.key": key,
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	secrets := r.c.Client().CoreV1().Secrets(r.ns)
	_, err := secrets.Create(ctx, secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}
