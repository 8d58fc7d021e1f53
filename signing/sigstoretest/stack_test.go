//go:build e2e && linux

package sigstoretest_test

import (
	"context"
	"net"
	"testing"
)

// There is nothing but loopback.
func TestNoNetwork(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) != 1 || interfaces[0].Name != "lo" {
		t.Errorf("interfaces %v, %v", interfaces, err)
	}
	if _, err := new(net.Dialer).DialContext(context.Background(), "udp", "192.0.2.1:53"); err == nil {
		t.Error("there is a route to elsewhere")
	}
}
