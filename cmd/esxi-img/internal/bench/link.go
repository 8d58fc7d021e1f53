package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"
)

// What a link far away is like. It is made here, by passing bytes on late and
// no faster than that: network namespaces with tc need root and a kernel that
// has netem. TCP itself notices nothing, so windows open at once.
const (
	linkRate  = 1e9 / 8               // bytes a second, each way, of all connections
	linkDelay = 15 * time.Millisecond // each way
	linkStep  = 64 << 10              // what travels at once, in bytes
	// linkWindow is what a connection may have on its way, in bytes: what Linux
	// lets a receiver's window become.
	linkWindow = 6 << 20
)

// link passes connections on to a server.
type link struct {
	net.Listener
	to    string
	paths [2]path // to the server, and from it
}

// path is one direction of the link, which all connections share.
type path struct {
	mu   sync.Mutex
	free time.Time // when what was sent so far has left
}

// newLink listens on a loopback address until the context ends.
func newLink(ctx context.Context, to string) (*link, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{Listener: l, to: to}
	go k.accept(ctx)
	return k, nil
}

func (k *link) accept(ctx context.Context) {
	for {
		near, err := k.Accept()
		if err != nil {
			return
		}
		go func() {
			far, err := new(net.Dialer).DialContext(ctx, "tcp", k.to)
			if err != nil {
				_ = near.Close()
				return
			}
			var both sync.WaitGroup
			both.Go(func() { k.paths[0].carry(far, near) })
			both.Go(func() { k.paths[1].carry(near, far) })
			both.Wait()
			_ = near.Close()
			_ = far.Close()
		}()
	}
}

// arrival is what travels, and when it is there.
type arrival struct {
	data []byte
	at   time.Time
}

// carry passes on what comes from one connection to another.
func (p *path) carry(to, from net.Conn) {
	onWay := make(chan arrival, linkWindow/linkStep)
	go func() {
		defer close(onWay)
		for {
			b := make([]byte, linkStep)
			n, err := from.Read(b)
			if n > 0 {
				onWay <- arrival{b[:n], p.send(n)}
			}
			if err != nil {
				return
			}
		}
	}()
	for a := range onWay {
		time.Sleep(time.Until(a.at))
		if _, err := to.Write(a.data); err != nil {
			_ = from.Close()
			break
		}
	}
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	for range onWay { // until the reader notices
	}
}

// send says when that many bytes arrive.
func (p *path) send(n int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / linkRate * float64(time.Second)))
	return p.free.Add(linkDelay)
}

// far runs something with the registry at the other end of a link.
func (b *bench) far(ctx context.Context, do func(a *artifact, host string) (float64, error)) (_ float64, err error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return 0, err
	}
	k, err := newLink(ctx, a.host)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	return do(a, k.Addr().String())
}

func farPullTime(ctx context.Context, b *bench) (float64, error) {
	return b.far(ctx, func(_ *artifact, host string) (float64, error) {
		c, err := b.pull(ctx, func(*artifact) string { return host })
		return c.took.Seconds(), err
	})
}

// fourCurls fetches a blob in four ranges at once.
const fourCurls = `set -e
url=$1 size=$2 out=$3 part=$(($2 / 4 + 1)) pids=
for i in 0 1 2 3; do
	curl -sSf -o "$out.$i" -r $((i * part))-$((i * part + part - 1)) "$url" &
	pids="$pids $!"
done
for p in $pids; do wait "$p"; done
sync "$out".0 "$out".1 "$out".2 "$out".3
`

func farCurlTime(ctx context.Context, b *bench) (float64, error) {
	return b.far(ctx, func(a *artifact, host string) (float64, error) {
		size, err := fileSize(a.disk)
		if err != nil {
			return 0, err
		}
		out := filepath.Join(b.dir, "curl")
		defer remove(out+".0", out+".1", out+".2", out+".3")
		c := b.command(ctx, "sh", "-c", fourCurls, "sh", "http://"+host+"/v2/esxi/blobs/"+a.digest, fmt.Sprint(size), out)
		seconds, err := c.timed("curl", "sync")
		return 1.05*seconds + 0.5, err
	})
}
