// Package sigstoretest runs a Sigstore instance of one's own for e2e tests:
// the real servers Fulcio (certificates), Rekor (log, version 2) and the time
// stamp authority, and cosign, built from their modules at fixed versions. An
// OpenID Connect issuer and a log that signs certificate time stamps, of which
// there are no small ones, are its own. All of it runs in a network namespace
// where nothing but loopback is. All of it has the build tag e2e and needs
// Linux.
package sigstoretest
