# Sends one mail with Perl's Net::SMTP; a part of scripts/check-clients.sh.
#
# Usage: net_smtp_client.pl PORT plain|tls1.2|tls1.3 PLAIN|LOGIN SENDER RECIPIENT FILE
#
# The system id is demo; its password comes by MM4_PASSWORD, the CA by MM4_CA. Prints the
# server's last reply, and dies with the server's words when anything is refused.

use strict;
use warnings;
use Authen::SASL;
use Net::SMTP;

my ($port, $channel, $mechanism, $sender, $recipient, $path) = @ARGV;

open my $file, '<:raw', $path or die "$path: $!\n";
my $mail = do { local $/; <$file> };

my $smtp = Net::SMTP->new('127.0.0.1',
    Port    => $port,
    Hello   => 'client.example.net',
    Timeout => 30,
    tls_options($channel),
) or die "no connection: $@\n";

my $sasl = Authen::SASL->new(
    mechanism => $mechanism,
    callback  => { user => 'demo', authname => 'demo', pass => $ENV{MM4_PASSWORD} },
);
must($smtp->auth($sasl));
must($smtp->mail($sender));
must($smtp->to($recipient));
must($smtp->data);
must($smtp->datasend($mail));
must($smtp->dataend);
print $smtp->message;
must($smtp->quit);

sub tls_options {
    my ($version) = $_[0] =~ /^tls(.*)/ or return;
    return (
        SSL                 => 1,
        SSL_ca_file         => $ENV{MM4_CA},
        SSL_verify_mode     => 1,
        SSL_verifycn_scheme => 'smtp',
        SSL_verifycn_name   => 'localhost',
        SSL_version         => 'TLSv' . ($version =~ tr/./_/r),
    );
}

sub must {
    $_[0] or die 'refused: ', $smtp->code, ' ', $smtp->message, "\n";
}
