package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/signing"
)

// verifyResult is what verify prints.
type verifyResult struct {
	Ref string `json:"ref"`
	// Verification is nil where the image was refused.
	Verification *artifact.Verification `json:"verification"`
	Deep         *deepResult            `json:"deep,omitempty"`
	Explanation  *explanation           `json:"explanation,omitempty"`
}

// explanation says how a verdict came about.
type explanation struct {
	Place   string       `json:"place"`
	Policy  string       `json:"policy,omitempty"`
	Scope   string       `json:"scope,omitempty"`
	Why     string       `json:"why,omitempty"`
	Bundles []bundleFate `json:"bundles"`
	// Attestations are asked for by the policy, by predicate type.
	Attestations map[string][]bundleFate `json:"attestations,omitempty"`
	Refused      string                  `json:"refused,omitempty"`
}

type bundleFate struct {
	Digest  string       `json:"digest"`
	Claimed string       `json:"claimed,omitempty"` // the type that it says it has; nobody checked it
	Counts  bool         `json:"counts"`
	Signer  string       `json:"signer,omitempty"`
	Reasons []fateReason `json:"reasons,omitempty"`
}

type fateReason struct {
	Authority string `json:"authority,omitempty"`
	Reason    string `json:"reason"`
	Detail    string `json:"detail,omitempty"`
}

func explain(policy *signing.PolicyVerifier, s artifact.Subject, found *signing.Examination, verdict error) *explanation {
	e := &explanation{Bundles: []bundleFate{}}
	if place, err := signing.PlaceOf(s.Ref); err == nil {
		e.Place = place
	}
	if c, err := policy.Choose(s.Ref); err == nil {
		e.Policy, e.Scope, e.Why = c.Policy, c.Scope.Prefix, c.Why()
	}
	if verdict != nil {
		e.Refused = verdict.Error()
	}
	if found == nil {
		return e
	}
	e.Bundles = append(e.Bundles, fates(found.Fates)...)
	for kind, f := range found.Attestations {
		if e.Attestations == nil {
			e.Attestations = map[string][]bundleFate{}
		}
		e.Attestations[kind] = fates(f)
	}
	return e
}

func fates(in []signing.Fate) []bundleFate {
	var out []bundleFate
	for _, f := range in {
		b := bundleFate{Digest: f.Referrer.Digest.String(), Claimed: f.Claimed, Counts: f.Signature != nil}
		if b.Counts {
			b.Signer = signerText(&f.Signature.Signer)
		}
		for _, r := range f.Reasons {
			reason := fateReason{Authority: r.Authority, Reason: r.Err.Error()}
			var known *signing.ReasonError
			if errors.As(r.Err, &known) {
				reason.Detail = strings.Join(strings.Fields(known.Err.Error()), " ")
			}
			b.Reasons = append(b.Reasons, reason)
		}
		out = append(out, b)
	}
	return out
}

func (a *app) showVerify(r *verifyResult) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	var f display.Fields
	if v := r.Verification; v != nil {
		f.Add("verified", verifiedText(r.Ref, v))
		f.Add("policy", v.Policy)
		for i := range v.Signers {
			addSigner(&f, "signed by", &v.Signers[i])
		}
		for i := range v.Attestations {
			f.Add("attested", v.Attestations[i].PredicateType)
			addSigner(&f, "attested by", &v.Attestations[i].Signer)
		}
	} else {
		f.Add("refused", r.Ref)
	}
	if d := r.Deep; d != nil {
		f.Addf("read", "%s: disk, module and kickstart are what the config says (%s, %s)",
			quantity.Bytes(d.Bytes), quantity.Count(d.Pieces, "piece", "pieces"), quantity.Count(d.Files, "file", "files"))
		for _, u := range d.Unchecked {
			f.Addf("not compared", "%s: its disk has another format", u)
		}
	}
	if e := r.Explanation; e != nil {
		addExplanation(&f, e)
	}
	return f.Write(a.Stdout)
}

func verifiedText(ref string, v *artifact.Verification) string {
	if v.Skipped {
		return "no: the policy takes anything from there: " + ref
	}
	return ref
}

// vouchedText says in a line who vouches for what is used.
func vouchedText(v *artifact.Verification) string {
	if v.Skipped && v.Policy == "" {
		return "no: --insecure-skip-verify"
	}
	if v.Skipped {
		return "no: " + v.Policy + " takes anything from there"
	}
	var names []string
	for i := range v.Signers {
		names = append(names, signerText(&v.Signers[i]))
	}
	return fmt.Sprintf("signed by %s (%s)", strings.Join(names, ", "), v.Policy)
}

func addSigner(f *display.Fields, name string, s *artifact.Signer) {
	f.Add(name, signerText(s))
	if s.Time != nil {
		f.Addf("  at", "%s, says a %s", s.Time.Format(time.RFC3339), s.TimeSource)
	}
	if s.LogIndex != nil {
		f.Addf("  log index", "%d", *s.LogIndex)
	}
	f.Add("  checked", strings.Join(s.Checked, ", "))
	if c := s.Claims; c != nil {
		var says []string
		for _, p := range [][2]string{{"", c.Role}, {"release ", c.Version}, {"build ", c.Build}, {"for ", c.Repository}} {
			if p[1] != "" {
				says = append(says, p[0]+p[1])
			}
		}
		f.Add("  says", strings.Join(says, ", "))
	}
}

// signerText names a signer in a line.
func signerText(s *artifact.Signer) string {
	text := "key " + s.Key
	if s.Key == "" {
		text = fmt.Sprintf("%s, says %s", s.Identity, s.Issuer)
	}
	if s.Authority != "" {
		text += " (" + s.Authority + ")"
	}
	return text
}

func addExplanation(f *display.Fields, e *explanation) {
	f.Add("place", e.Place)
	if e.Policy != "" {
		scope := e.Policy
		if e.Scope != "" {
			scope += ", scope " + e.Scope
		}
		f.Add("scope", scope+": "+e.Why)
	}
	for _, b := range e.Bundles {
		addFate(f, "bundle", &b)
	}
	for _, kind := range slices.Sorted(maps.Keys(e.Attestations)) {
		f.Add("wanted", kind)
		for _, b := range e.Attestations[kind] {
			addFate(f, "bundle", &b)
		}
	}
	if len(e.Bundles) == 0 && e.Scope != "" {
		f.Add("bundles", "none were looked at")
	}
}

func addFate(f *display.Fields, name string, b *bundleFate) {
	text := b.Digest
	if b.Claimed != "" {
		text += ", says that it is " + b.Claimed
	}
	f.Add(name, text)
	if b.Counts {
		f.Add("  counts", b.Signer)
	}
	for _, r := range b.Reasons {
		reason := r.Reason
		if r.Authority != "" {
			reason = "not by " + r.Authority + ": " + reason
		}
		f.Add("  does not", reason)
		f.Add("  because", r.Detail)
	}
}

// addClaims adds what bundles say of themselves, and that nothing of it was
// verified.
func addClaims(f *display.Fields, l *signing.Listing) {
	for i := range l.Bundles {
		b := &l.Bundles[i]
		if b.Problem != "" {
			f.Addf("not verified", "%s: %s", b.Referrer, b.Problem)
			continue
		}
		by := "key " + b.Key
		if b.Identity != "" {
			by = fmt.Sprintf("%s, says %s", b.Identity, b.Issuer)
		}
		f.Addf("not verified", "%s by %s", b.Kind, by)
	}
	if l.More > 0 {
		f.Addf("not verified", "%d more", l.More)
	}
}
