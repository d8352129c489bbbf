package peerz

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

const (
	maxLabel = 63 // the limit of Kubernetes' labels, which zones and revisions are
	// saltCheckLen is the number of bytes of a salt's fingerprint. Two salts have the same one
	// by chance in 1 of 65,536 cases. More bytes would let someone who guesses salts know
	// that a guess is right. These only rule out wrong ones.
	saltCheckLen = 2
	saltChecked  = "evenkeel: which salt?"
)

// Place is the part of a Report that says where the pod stands in the membership. Older
// versions of evenkeel send none of it.
type Place struct {
	// Zone is the zone in which the pod runs, if it knows.
	Zone string `json:"zone,omitempty"`
	// Revision is the revision of the workload that the pod runs, if it knows: the
	// pod-template-hash of a Deployment. While pods have different ones, they are being replaced.
	Revision string `json:"revision,omitempty"`
	// Out reports whether the pod was a member, lives, and is no longer listed.
	Out bool `json:"out,omitempty"`
	// SaltCheck is the fingerprint of the salt: see [Hasher.SaltCheck].
	SaltCheck string `json:"saltCheck,omitempty"`
}

// Announces reports whether the pod is of a version that announces itself while it starts: see
// [Start]. That came together with SaltCheck, which says it without a field of its own.
func (p *Place) Announces() bool { return p.SaltCheck != "" }

func (p *Place) check() error {
	for _, label := range []string{p.Zone, p.Revision} {
		if label != "" && !validLabel(label) {
			return nonsense("zone or revision %.40q is not a name of at most %d printable characters", label, maxLabel)
		}
	}
	if p.SaltCheck != "" && !validKey(p.SaltCheck) {
		return nonsense("the fingerprint %.40q of the salt is not hexadecimal", p.SaltCheck)
	}
	return nil
}

func validLabel(label string) bool { return len(label) <= maxLabel && validPod(label) }

// clean drops what peers would reject, and the whole report with it.
func (p *Place) clean() {
	for _, label := range []*string{&p.Zone, &p.Revision} {
		if !validLabel(*label) {
			*label = ""
		}
	}
}

// SaltCheck returns the fingerprint of the salt, by which pods notice that they hash keys
// differently: the first 2 bytes, in hex, of the HMAC-SHA256 of a constant. It narrows a list
// of guessed salts to one in 65,536, and never confirms a guess. A salt must be long and
// random in any case, since hashed keys of known addresses confirm guesses.
func (h Hasher) SaltCheck() string {
	if h.check != "" {
		return h.check
	}
	mac := hmac.New(sha256.New, h.salt)
	mac.Write([]byte(saltChecked))
	return hex.EncodeToString(mac.Sum(nil)[:saltCheckLen])
}

// OtherSalt reports whether a pod with this report is known to hash keys differently.
func (h Hasher) OtherSalt(r *Report) bool { return r.SaltCheck != "" && r.SaltCheck != h.SaltCheck() }
