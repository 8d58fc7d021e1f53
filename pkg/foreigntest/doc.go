// Package foreigntest is for tests, with the build tag e2e: programs that
// others wrote, which are built once a version, and servers that run while a
// test does.
package foreigntest
