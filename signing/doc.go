// Package signing signs images, attests things of them, and decides whose
// images may be used.
//
// A signature is an in-toto statement about a manifest's digest, signed as a
// DSSE envelope in a Sigstore bundle, which is attached to the manifest as an
// OCI referrer: what cosign 3 makes and reads. Verifier implements
// artifact.Verifier; it fails closed.
//
// It is the only package that imports sigstore-go.
package signing
