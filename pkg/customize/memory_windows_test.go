package customize_test

import "testing"

func zeroed(_ testing.TB, size int64) []byte { return make([]byte, size) }
