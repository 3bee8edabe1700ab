package main

import "fmt"

// batchMessages is how many messages an atomic batch of NATS can have.
const batchMessages = 1000

// clusterCells run three nodes on this machine, each a process, and talk to the leader. They are
// compared with three NATS servers with a stream of three replicas, and with one Redis.
func clusterCells(s settings) []cell {
	var cells []cell
	for _, c := range [][2]int{{1, 1}, {16, 1}, {64, 16}, {256, 16}} {
		cells = append(cells, cell{group: "cluster", name: fmt.Sprintf("three nodes, %dx%d", c[0], c[1]), only: []string{"ours", "base", "nats", "redis"},
			run: func(r *runner, t *target) (measurement, error) { return r.clusterAppends(t, c[0], c[1]) }})
	}
	return append(cells,
		cell{group: "cluster", name: "beside NATS, 64x16", only: ownOnly,
			run: func(r *runner, t *target) (measurement, error) { return r.gatewayAppends(t, 64, 16) }},
		cell{group: "cluster", name: "three nodes, replay", only: ownOnly,
			run: func(r *runner, t *target) (measurement, error) { return r.clusterReplay(t) }})
}

// clusterAppends gives three servers, or one Redis, a load of appends. NATS gets single publishes
// if a connection has one append in flight, and atomic batches if it has more.
func (r *runner) clusterAppends(t *target, conns, inFlight int) (m measurement, err error) {
	appenders := t.writers(r.entrySize)
	switch {
	case t.name == "redis":
	case t.cluster == nil:
		return nil, fmt.Errorf("%s cannot run on three nodes", t.name)
	default:
		if t = t.cluster; t.name == "nats" && inFlight > 1 { // about as many in flight
			conns, inFlight = max(1, conns*inFlight/batchMessages), batchMessages
			appenders = func(int) appender {
				lane := int(lanes.Add(1))
				return newBatchAppender(newEntrySource(r.entrySize, uint16(lane)), lane)
			}
		}
	}
	err = r.withServer(t, nil, func(p *process) error {
		if m, err = r.load(p, conns, inFlight, appenders); err == nil {
			m["rss"] = p.rss()
		}
		return err
	})
	return m, err
}

// gatewayAppends gives a load of appends to this project's server with its log on three NATS servers.
func (r *runner) gatewayAppends(t *target, conns, inFlight int) (m measurement, err error) {
	peer, err := nats(r.temp)
	if err != nil {
		return nil, err
	}
	err = r.withServer(peer.cluster, nil, func(servers *process) error {
		return r.withServer(t, []string{"NATS_URL=nats://" + servers.addr}, func(p *process) error {
			if m, err = r.appends(t, p, conns, inFlight); err == nil {
				m["rss"] = p.rss()
			}
			return err
		})
	})
	return m, err
}

// clusterReplay fills a cluster, and reads the log from the leader.
func (r *runner) clusterReplay(t *target) (m measurement, err error) {
	err = r.withServer(t.cluster, nil, func(p *process) error {
		if err := fillLog(t, p, r.replay, r.entrySize); err != nil {
			return err
		}
		if m, err = replay(t, p, r.replay, 0); err == nil {
			m["rss"] = p.rss()
		}
		return err
	})
	return m, err
}
