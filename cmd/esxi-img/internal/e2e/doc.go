// Package e2e holds the tests whose judges are not ours: file system checkers,
// foreign FAT and GPT drivers, and firmware that boots what we built. They
// need the programs that .ci/need.sh lists, are built with the tag e2e
// ("make e2e"), and fail where a program is missing.
package e2e
