package kafka

import (
	"crypto/sha256"
	"strings"
	"testing"
)

// The example of RFC 7677, section 3.
func TestScramExample(t *testing.T) {
	s := &scram{"SCRAM-SHA-256", sha256.New, "user", "pencil", func() string { return "rOprNGfwEbeRWgbNEkqO" }}
	login, first, err := s.Start(t.Context())
	if err != nil || string(first) != "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" {
		t.Fatalf("first message %q, %v", first, err)
	}
	done, final, err := login.Next(t.Context(), []byte("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
	if want := "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; done || err != nil || string(final) != want {
		t.Fatalf("final message %q, %v, %v", final, done, err)
	}
	done, _, err = login.Next(t.Context(), []byte("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="))
	if !done || err != nil {
		t.Fatalf("the right answer: %v, %v", done, err)
	}
}

// A broker that cannot prove it knows the password, or asks for what no honest
// one does, is refused.
func TestScramRefuses(t *testing.T) {
	const nonce = "rOprNGfwEbeRWgbNEkqO"
	for _, test := range []struct{ name, challenge, answer, want string }{
		{"malformed", "x", "", "malformed"},
		{"no salt", "r=" + nonce + "abc,i=4096", "", "malformed"},
		{"foreign nonce", "r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "", "not an answer to ours"},
		{"only our nonce", "r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "", "not an answer to ours"},
		{"few iterations", "r=" + nonce + "abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1", "", "iterations"},
		{"many iterations", "r=" + nonce + "abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=999999999", "", "iterations"},
		{"refusal", "r=" + nonce + "abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "e=invalid-proof", "wrong user name or password"},
		{"wrong signature", "r=" + nonce + "abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "not the one it claims to be"},
	} {
		s := &scram{"SCRAM-SHA-256", sha256.New, "a=b,c", "pencil", func() string { return nonce }}
		login, first, _ := s.Start(t.Context())
		if !strings.Contains(string(first), "n=a=3Db=2Cc,") {
			t.Errorf("user name not escaped: %q", first)
		}
		_, _, err := login.Next(t.Context(), []byte(test.challenge))
		if err == nil {
			_, _, err = login.Next(t.Context(), []byte(test.answer))
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "pencil") {
			t.Errorf("%s: the password is in the error", test.name)
		}
	}
}
