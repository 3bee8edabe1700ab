package replicated

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestCheckStream checks that each setting with which a stream can lose entries is refused by name.
func TestCheckStream(t *testing.T) {
	good := streamConfig("log", 3)
	if err := checkStream(&good, 3); err != nil {
		t.Fatalf("a stream as it is created: %v", err)
	}
	good.Replicas = 5
	if err := checkStream(&good, 3); err != nil {
		t.Errorf("more replicas: %v", err)
	}
	// By field of StreamConfig: the name in the error, and changes that must be refused.
	refused := map[string][]refusal{
		"Subjects": {
			{"subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{"log.>"} }},
			{"subjects", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more") }},
		},
		"Retention":              {{"retention", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }}},
		"Storage":                {{"storage", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }}},
		"Discard":                {{"discard", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }}},
		"MaxMsgs":                {{"max_msgs", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 }}},
		"MaxBytes":               {{"max_bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 40 }}},
		"MaxMsgsPerSubject":      {{"max_msgs_per_subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }}},
		"MaxMsgSize":             {{"max_msg_size", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 }}},
		"MaxAge":                 {{"max_age", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }}},
		"DenyDelete":             {{"deny_delete", func(c *jetstream.StreamConfig) { c.DenyDelete = false }}},
		"DenyPurge":              {{"deny_purge", func(c *jetstream.StreamConfig) { c.DenyPurge = false }}},
		"AllowRollup":            {{"allow_rollup_hdrs", func(c *jetstream.StreamConfig) { c.AllowRollup = true }}},
		"AllowMsgTTL":            {{"allow_msg_ttl", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }}},
		"NoAck":                  {{"no_ack", func(c *jetstream.StreamConfig) { c.NoAck = true }}},
		"PersistMode":            {{"persist_mode", func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }}},
		"FirstSeq":               {{"first_seq", func(c *jetstream.StreamConfig) { c.FirstSeq = 7 }}},
		"AllowMsgCounter":        {{"allow_msg_counter", func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true }}},
		"AllowMsgSchedules":      {{"allow_msg_schedules", func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = true }}},
		"SubjectDeleteMarkerTTL": {{"subject_delete_marker_ttl", func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Hour }}},
		"Sealed":                 {{"sealed", func(c *jetstream.StreamConfig) { c.Sealed = true }}},
		"Mirror":                 {{"mirror or sources", func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{Name: "x"} }}},
		"Sources":                {{"mirror or sources", func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "x"}} }}},
		"SubjectTransform":       {{"subject_transform or republish", func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} }}},
		"RePublish":              {{"subject_transform or republish", func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{} }}},
		"AllowDirect":            {{"allow_direct", func(c *jetstream.StreamConfig) { c.AllowDirect = false }}},
		"Replicas":               {{"num_replicas", func(c *jetstream.StreamConfig) { c.Replicas = 1 }}},
		"Metadata": {
			{"another program", func(c *jetstream.StreamConfig) { c.Metadata = nil }},
			{"format 2", func(c *jetstream.StreamConfig) { c.Metadata[metaFormat] = "2" }},
		},
	}
	// Settings that are free, and why they lose nothing.
	harmless := map[string]func(*jetstream.StreamConfig){
		"Name":        nil, // it is the one that was asked for
		"Description": func(c *jetstream.StreamConfig) { c.Description = "x" },
		"Template":    func(c *jetstream.StreamConfig) { c.Template = "x" },
		"Placement":   func(c *jetstream.StreamConfig) { c.Placement = &jetstream.Placement{Cluster: "x"} },
		// With these JetStream may refuse the tail's consumer. Then the tail is fetched.
		"MaxConsumers":   func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 },
		"ConsumerLimits": func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Second },
		// Messages have no IDs, so none can be mistaken for a duplicate.
		"Duplicates": func(c *jetstream.StreamConfig) { c.Duplicates = time.Hour },
		// It goes with MaxMsgsPerSubject, which is refused.
		"DiscardNewPerSubject": func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = true },
		// The stored data is the same.
		"Compression": func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression },
		// The stream is not a mirror.
		"MirrorDirect": func(c *jetstream.StreamConfig) { c.MirrorDirect = true },
		// These only affect messages that ask for it, and gateways send none.
		"AllowAtomicPublish": func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = true },
		"AllowBatchPublish":  func(c *jetstream.StreamConfig) { c.AllowBatchPublish = true },
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[jetstream.StreamConfig]()) {
		change, ok := harmless[field.Name]
		if ok == (refused[field.Name] != nil) {
			t.Errorf("%s must be either refused or known to lose nothing", field.Name)
		}
		config := streamConfig("log", 3)
		if change != nil {
			change(&config)
			if err := checkStream(&config, 3); err != nil {
				t.Errorf("%s: %v", field.Name, err)
			}
		}
		for _, c := range refused[field.Name] {
			config := streamConfig("log", 3)
			c.change(&config)
			if err := checkStream(&config, 3); !errors.Is(err, ErrStream) || !strings.Contains(err.Error(), c.names) {
				t.Errorf("%s: %v, want an error that names %s", field.Name, err, c.names)
			}
		}
	}
}

// refusal is a change for which a stream is refused, and the name in the error.
type refusal struct {
	names  string
	change func(*jetstream.StreamConfig)
}

// TestStreamChanges: a stream that can no longer hold the log takes no appends until it is repaired.
func TestStreamChanges(t *testing.T) {
	cases := []struct {
		name   string
		change func(f *fake)
		want   string
	}{
		{"a limit", func(f *fake) { f.config.MaxAge = time.Hour }, "max_age"},
		{"another log", func(f *fake) { f.config.Metadata = streamConfig("log", 1).Metadata }, "made again"},
		{"messages are gone", func(f *fake) { f.deleted = 1 }, "are gone"},
		{"the leader has lost the end", func(f *fake) { f.stored = f.stored[:1] }, "has lost messages"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			l := f.gateway(5 * time.Second)
			put(t, l, always, "1")
			put(t, l, always, "2")
			f.mu.Lock()
			config, stored := f.config, f.stored
			c.change(f)
			f.mu.Unlock()
			eventually(t, "it is noticed", func() bool { return errors.Is(l.Refusing(), ErrStream) })
			o := await(t, start(l, always, "3"))
			if o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: ") || !strings.Contains(o.err.Error(), c.want) {
				t.Errorf("%v, want that it is not stored because of %s", o.err, c.want)
			}
			f.mu.Lock()
			f.config, f.stored, f.deleted = config, stored, 0
			f.mu.Unlock()
			eventually(t, "it is mended", func() bool { return l.Refusing() == nil })
			if r := put(t, l, always, "4"); r.First != 3 {
				t.Errorf("index %d, want 3", r.First)
			}
		})
	}
}

// TestReplacedEnd: a gateway does not append to a stream that has lost messages it has counted and has
// others in their place: its indices would be wrong.
func TestReplacedEnd(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(5 * time.Second)
	put(t, l, always, "1")
	f.put(message{}, "2")
	eventually(t, "it counts the second", func() bool { return l.Known() == 2 })
	f.mu.Lock()
	f.stored = f.stored[:1]
	f.mu.Unlock()
	eventually(t, "it is noticed", func() bool { return errors.Is(l.Refusing(), ErrStream) })
	f.put(message{}, "another 2", "3")
	f.put(message{}, "4")
	seen := time.Now()
	eventually(t, "the leader has been asked again", func() bool { return l.Stats().Asked.After(seen.Add(2 * watchEvery)) })
	if o := await(t, start(l, always, "5")); o.err == nil || !strings.HasPrefix(o.err.Error(), "not stored: ") {
		t.Errorf("%+v, want that it is not stored: its index would be wrong", o)
	}
	if got := f.entries(); !slices.Equal(got, []string{"1", "another 2", "3", "4"}) {
		t.Errorf("the stream has %v", got)
	}
}

// TestOpenRefuses: Open refuses a stream that cannot hold the log.
func TestOpenRefuses(t *testing.T) {
	cases := []struct {
		name   string
		change func(f *fake, c *Config)
		want   string
	}{
		{"a limit", func(f *fake, _ *Config) { f.config.MaxMsgs = 5 }, "max_msgs"},
		{"too few replicas", func(_ *fake, c *Config) { c.Replicas = 3 }, "num_replicas"},
		{"another log", func(_ *fake, c *Config) { c.Store = strings.Repeat("ab", 16) }, "another cluster"},
		{"messages are gone", func(f *fake, _ *Config) { f.put(message{}, "1"); f.deleted = 1 }, "are gone"},
		{"no name", func(f *fake, _ *Config) { f.config.Metadata[metaStore] = "x" }, "hexadecimal"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			config := Config{Conn: f.connect(), Stream: "log", Replicas: 1, GiveUp: time.Second}
			c.change(f, &config)
			l, err := Open(t.Context(), config)
			if err == nil {
				l.Close(t.Context())
			}
			if !errors.Is(err, ErrStream) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want one that names %q", err, c.want)
			}
		})
	}
}
