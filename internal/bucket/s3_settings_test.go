package bucket

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// setAWS sets the variables, clears the others, and writes the files.
func setAWS(t *testing.T, env map[string]string, config, creds string) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	dir := filepath.Join(home, ".aws")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600),
		os.WriteFile(filepath.Join(dir, "credentials"), []byte(creds), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
}

func TestSettings(t *testing.T) {
	const config = "[default]\nregion = eu-west-1\n[profile lab]\nregion = lab-1\nendpoint_url = http://lab:9000\n" +
		"[profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default\nendpoint_url = http://lab:9000\n"
	const creds = "[default]\naws_access_key_id = filekey\naws_secret_access_key = filesecret\n" +
		"[lab]\naws_access_key_id = labkey\naws_secret_access_key = labsecret\naws_session_token = labtoken\n"
	type env = map[string]string
	keys := env{"AWS_ACCESS_KEY_ID": "envkey", "AWS_SECRET_ACCESS_KEY": "envsecret"}
	with := func(more env) env {
		for name, value := range keys {
			more[name] = value
		}
		return more
	}
	for _, test := range []struct {
		name         string
		env          env
		host, region string
		secure       bool
		key, token   string
		err          string
	}{
		{"files", nil, "s3.amazonaws.com", "eu-west-1", true, "filekey", "", ""},
		{"variables", with(env{"AWS_SESSION_TOKEN": "tok"}), "s3.amazonaws.com", "eu-west-1", true, "envkey", "tok", ""},
		{"region", with(env{"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "x"}), "s3.amazonaws.com", "us-west-2", true, "envkey", "", ""},
		{"endpoint", with(env{"AWS_ENDPOINT_URL": "http://here:1"}), "here:1", "eu-west-1", false, "envkey", "", ""},
		{"endpoint of S3", with(env{"AWS_ENDPOINT_URL": "http://here:1", "AWS_ENDPOINT_URL_S3": "https://there/"}), "there", "eu-west-1", true, "envkey", "", ""},
		{"profile", env{"AWS_PROFILE": "lab"}, "lab:9000", "lab-1", false, "labkey", "labtoken", ""},
		{"no profile", env{"AWS_PROFILE": "none"}, "", "", false, "", "", `no profile "none"`},
		{"role", env{"AWS_PROFILE": "role"}, "", "", false, "", "", "profile role takes on a role"},
		{"half", env{"AWS_ACCESS_KEY_ID": "envkey"}, "", "", false, "", "", "go together"},
		{"endpoint with a password", with(env{"AWS_ENDPOINT_URL": "http://a:hidden@here"}), "", "", false, "", "", "AWS_ENDPOINT_URL is not the URL"},
		{"endpoint without scheme", with(env{"AWS_ENDPOINT_URL_S3": "here:9000"}), "", "", false, "", "", "AWS_ENDPOINT_URL_S3 is not the URL"},
		{"endpoint with a path", with(env{"AWS_ENDPOINT_URL": "http://here/path"}), "", "", false, "", "", "AWS_ENDPOINT_URL is not the URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			setAWS(t, test.env, config, creds)
			s, err := readSettings()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "hidden") {
					t.Fatalf("got error %v, want one with %q and no secret", err, test.err)
				}
				return
			}
			if err != nil || s.host != test.host || s.region != test.region || s.secure != test.secure {
				t.Fatalf("got %+v, %v, want %s, %s, TLS %v", s, err, test.host, test.region, test.secure)
			}
			v, err := s.credentials.GetWithContext(nil)
			if err != nil || v.AccessKeyID != test.key || v.SessionToken != test.token {
				t.Errorf("got key %q and token %q, %v, want %q and %q", v.AccessKeyID, v.SessionToken, err, test.key, test.token)
			}
		})
	}
}

func TestNoCredentials(t *testing.T) {
	setAWS(t, map[string]string{"AWS_ENDPOINT_URL": "http://here:1"}, "", "")
	_, err := Open(t.Context(), "s3://bkt/log", Options{})
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("got error %v, want ErrDenied and what to set", err)
	}
}
