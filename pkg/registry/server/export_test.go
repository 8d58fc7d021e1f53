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

// SetMaxRemembered bounds what layouts may remember, in bytes.
func (s *Server) SetMaxRemembered(n int64) { s.store.maxRemembered = n }

// Remembered is what they do, as it is accounted and as it is.
func (s *Server) Remembered() (accounted, held int64) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for _, r := range s.store.open {
		held += r.layout.Remembered()
	}
	return s.store.remembered, held
}

// RouteName is the repository that a path names.
func RouteName(path string) (string, bool) {
	rt, err := parseRoute(path)
	return rt.name, err == nil && rt.kind != kindBase
}

// NewRecorder wraps a writer as each request's is.
var NewRecorder = newRecorder
