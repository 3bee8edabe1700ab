package syncreplicas

import "fmt"

// Stats is the state of a log and its replicas.
type Stats struct {
	Need      int    // replicas that each append waits for
	Connected int    // replicas that have reported their progress, each name once
	Waiting   int    // waiting appends
	Unknown   uint64 // appends with an unknown outcome since New
}

// Stats returns the current counts.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Need: l.need, Connected: l.connected(), Waiting: l.queue.len(), Unknown: l.unknown}
}

// connected returns how many replicas have reported their progress. The caller holds mu.
func (l *Log) connected() (n int) {
	for _, r := range l.replicas {
		if r.spoken {
			n++
		}
	}
	return n
}

// Missing says why appends cannot be acknowledged now; nil if they can.
func (l *Log) Missing() error {
	if s := l.Stats(); s.Connected < s.Need {
		connected := "0 replicas are connected"
		switch {
		case s.Connected == 1:
			connected = "1 replica is connected, those of one name counted once"
		case s.Connected > 1:
			connected = fmt.Sprintf("%d replicas are connected, those of one name counted once", s.Connected)
		}
		return fmt.Errorf("SYNC_REPLICAS is %d, but %s: appends wait, and after %v their outcome is unknown", s.Need, connected, l.timeout)
	}
	return nil
}
