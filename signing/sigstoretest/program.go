//go:build e2e && linux

package sigstoretest

import "github.com/esxi-img/esxi-img/pkg/foreigntest"

// Programs of Sigstore: the newest that Go 1.26 builds.
const (
	Fulcio    foreigntest.Program = "github.com/sigstore/fulcio@v1.8.8"
	Rekor     foreigntest.Program = "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0"
	Timestamp foreigntest.Program = "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server@v2.1.3"
	Cosign    foreigntest.Program = "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3"
)

// Programs lists them, that which takes longest to build first, and what shows
// a registry's referrers.
var Programs = []foreigntest.Program{Cosign, Fulcio, Rekor, Timestamp, foreigntest.ORAS}
