package artifact

// ToTestDevice is a destination over a device that is none.
func ToTestDevice(d device, opts DeviceOptions) (Destination, error) {
	to, err := newToDevice(d, opts)
	if err != nil {
		return nil, err
	}
	return to, nil
}
