package outfile

// syncDir has nothing to do: Windows offers no sync of a directory, and NTFS
// journals the rename.
func syncDir(string) error { return nil }
