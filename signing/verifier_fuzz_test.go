package signing

import (
	"bytes"
	"testing"
	"time"
)

// FuzzVerifyBundle changes bundles that count: what still counts then says what
// was signed, of the subject.
func FuzzVerifyBundle(f *testing.F) {
	i := newInstance(f)
	now := time.Now()
	payload := signed(theClaims)
	byKey := i.signs(who{}, payload)
	for _, p := range []*parts{
		byKey,
		i.signs(who{key: byKey.key}, payload).logged(i).stamped(i, now),
		i.signs(someone(), payload).logged(i).stamped(i, now),
		i.signs(someone(), payload).loggedOld(i, now),
		i.signs(who{key: byKey.key}, says(theIndex, theClaims, PredicateSPDX)),
	} {
		f.Add(p.json())
	}
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},"dsseEnvelope":{}}`))
	var checkers []*checker
	for _, a := range []Authority{{Key: publicKey(byKey)}, {Key: publicKey(byKey), Log: true, Timestamp: true}, theIdentity()} {
		checkers = append(checkers, must(newChecker(&a, i)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBundle(data)
		if err != nil {
			return
		}
		for _, c := range checkers {
			s, err := c.verifyBundle(b, theIndex.Digest, PredicateSignature, now)
			if err != nil {
				if s != nil || err.Error() == "" {
					t.Error("a signature and an error, or no reason")
				}
				continue
			}
			if !bytes.Equal(s.Payload, payload) || s.Claims != theClaims || s.Signer.Key == "" && s.Signer.Identity != theName {
				t.Errorf("%+v", s)
			}
		}
	})
}

// BenchmarkVerify is what verification adds to a pull, without the network:
// some milliseconds.
func BenchmarkVerify(b *testing.B) {
	i := newInstance(b)
	now := time.Now()
	byKey := i.signs(who{}, signed(theClaims))
	for name, c := range map[string]struct {
		bundle    *parts
		authority Authority
	}{
		"key":      {byKey, Authority{Key: publicKey(byKey)}},
		"identity": {i.signs(someone(), signed(theClaims)).logged(i).stamped(i, now), theIdentity()},
	} {
		b.Run(name, func(b *testing.B) {
			s := only(c.bundle.json())
			for b.Loop() {
				// With the preparation: a pull does it once.
				v, err := NewVerifier(Rule{AnyOf: []Authority{c.authority}}, i)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := v.Verify(b.Context(), s.subject()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
