package tardisk

// Store makes a gzip member without the cost of compressing.
var Store = store
