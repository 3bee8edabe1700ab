package bucket

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"gopkg.in/ini.v1"
)

// settings say which S3 service to use, and with which credentials.
type settings struct {
	host        string
	secure      bool   // over TLS
	region      string // "" to ask the service, if it is AWS
	credentials *credentials.Credentials
}

const awsEndpoint = "https://s3.amazonaws.com"

// readSettings reads the variables and files of AWS's tools.
func readSettings() (settings, error) {
	profile := cmp.Or(os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"), "default")
	file, err := readProfile(profile)
	if err != nil {
		return settings{}, err
	}
	name, endpoint := "", ""
	for _, name = range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} {
		if endpoint = os.Getenv(name); endpoint != "" {
			break
		}
	}
	if endpoint == "" {
		name, endpoint = "endpoint_url of profile "+profile, cmp.Or(file["endpoint_url"], awsEndpoint)
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return settings{}, fmt.Errorf("%s is not the URL of an S3 service, which is https://host:port", name)
	}
	s := settings{host: u.Host, secure: u.Scheme == "https"}
	aws := s3utils.IsAmazonEndpoint(*u)
	s.region = cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), file["region"])
	if s.region == "" && !aws {
		s.region = "us-east-1" // accepted by services without regions
	}
	s.credentials, err = findCredentials(profile, file, aws)
	return s, err
}

// findCredentials looks in the same places as AWS's tools, in the same order.
func findCredentials(profile string, file map[string]string, aws bool) (*credentials.Credentials, error) {
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	switch {
	case id != "" && secret != "":
		return credentials.NewStaticV4(id, secret, os.Getenv("AWS_SESSION_TOKEN")), nil
	case id != "" || secret != "":
		return nil, errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together, and one is not set")
	case file["aws_access_key_id"] != "" || file["credential_process"] != "" || file["sso_role_name"] != "":
		return credentials.NewFileAWSCredentials("", profile), nil
	}
	container := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") + os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") +
		os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if container != "" || aws && os.Getenv("AWS_EC2_METADATA_DISABLED") != "true" {
		return credentials.NewIAM(""), nil
	}
	if file["role_arn"] != "" {
		return nil, fmt.Errorf("%w: profile %s takes on a role, which is not supported: "+
			"use credential_process, or the container's or the instance's role", ErrDenied, profile)
	}
	return nil, fmt.Errorf("%w: there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials", ErrDenied)
}

// readProfile returns the settings of the profile in the files of AWS's tools. Only a profile that
// was asked for must exist.
func readProfile(profile string) (map[string]string, error) {
	home, _ := os.UserHomeDir()
	config := cmp.Or(os.Getenv("AWS_CONFIG_FILE"), filepath.Join(home, ".aws", "config"))
	creds := cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(home, ".aws", "credentials"))
	values, found := make(map[string]string), profile == "default"
	for _, place := range []struct{ file, section string }{{config, "profile " + profile}, {config, profile}, {creds, profile}} {
		if place.file == config && place.section == profile && profile != "default" {
			continue // in that file, only the default profile omits the word
		}
		f, err := ini.LooseLoad(place.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place.file, err)
		}
		section, err := f.GetSection(place.section)
		if err != nil {
			continue
		}
		found = true
		for _, key := range section.Keys() {
			values[key.Name()] = key.String()
		}
	}
	if !found {
		return nil, fmt.Errorf("%w: there is no profile %q in %s or %s", ErrDenied, profile, config, creds)
	}
	return values, nil
}
