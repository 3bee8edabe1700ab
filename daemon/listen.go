package daemon

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/rs/zerolog"
)

// listen starts listening. Clients that connect wait until the log is open.
func (d *daemon) listen() (err error) {
	if d.ln, err = d.config.listen(); err != nil {
		return err
	}
	if err := d.config.checkExposure(d.ln.Addr(), "HOST=127.0.0.1"); err != nil {
		d.ln.Close()
		return err
	}
	return nil
}

// listen returns the configured listener, or the socket that systemd has passed, or a new one.
func (c *Config) listen() (net.Listener, error) {
	if c.Listener != nil {
		return c.Listener, nil
	}
	if c.Systemd {
		if ln, err := passedSocket(); ln != nil || err != nil {
			return ln, err
		}
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(c.Host, fmt.Sprint(c.Port)))
	return ln, listenError(err, "PORT")
}

// address adds a TCP address to an event.
func address(addr net.Addr) func(*zerolog.Event) {
	return func(e *zerolog.Event) {
		if tcp, ok := addr.(*net.TCPAddr); ok {
			e.Int("port", tcp.Port).Str("address", tcp.IP.String())
		}
	}
}

// addrs returns the addresses at which clients reach the log.
func (d *daemon) addrs() []net.Addr {
	if d.site == nil {
		return []net.Addr{d.ln.Addr()}
	}
	return []net.Addr{d.ln.Addr(), d.site.ln.Addr()}
}

// listenError adds advice to an error of listening; port is the setting with the port.
func listenError(err error, port string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: stop the server that is running there, or set %s to another port", err, port)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: set %s to 1024 or more, or have systemd listen by its socket unit", err, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine does not have that address; 0.0.0.0 or :: stands for every address that it has", err)
	}
	return err
}
