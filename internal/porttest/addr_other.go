//go:build !linux

package porttest

import "net"

// Hold returns a port of 127.0.0.1, with that host. On this system it is only one that was free.
func Hold() (addr string, release func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	defer ln.Close()
	return ln.Addr().String(), func() {}, nil
}
