package server

import "time"

// SetTimes makes clients stall, and the end come, sooner.
func (s *Server) SetTimes(stall, grace time.Duration) { s.stall, s.grace = stall, grace }

// Expire ends uploads, and lets go of layouts, that are as old.
func (s *Server) Expire(age time.Duration) error {
	since := time.Now().Add(-age)
	if err := s.uploads.expire(since); err != nil {
		return err
	}
	return s.store.expire(since)
}

// ExpireLayouts lets go of layouts only.
func (s *Server) ExpireLayouts(age time.Duration) error { return s.store.expire(time.Now().Add(-age)) }

// Open is how many layouts are held.
func (s *Server) Open() int {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return len(s.store.open)
}

// RouteName is the repository that a path names.
func RouteName(path string) (string, bool) {
	rt, err := parseRoute(path)
	return rt.name, err == nil && rt.kind != kindBase
}

// NewRecorder wraps a writer as each request's is.
var NewRecorder = newRecorder
