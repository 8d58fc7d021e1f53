// Package blockdevtest makes block devices for tests of the kind e2e: loop
// devices over sparse files. It needs Linux, root and losetup, and fails without.
package blockdevtest
