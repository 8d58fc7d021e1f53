// Package registrytest is for tests: a Liar stands before a registry and lies
// for it. With the build tag e2e there are also registries that run: two that
// others wrote, distribution v3, which Start builds, and Debian's
// docker-registry, which has to be installed, and our own.
package registrytest
