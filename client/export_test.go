package client

// Vacant reports whether the next append of the lane may lead.
func (c *Client) Vacant() bool {
	l := c.lane.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turn == vacant
}

const (
	CanLead   = canDirect
	LeadAfter = leadAfter
)
