// Package house holds the tests of the repository's own rules: which way
// imports point, and how long a file may be.
package house
