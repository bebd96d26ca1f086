-- +goose Up
-- LIMITED is a mail that was not sent because its address had got as many as it may. At the end of the list, so that no row is
-- rewritten.
ALTER TABLE notifications MODIFY status ENUM('CLAIMED', 'SENT', 'SUPPRESSED', 'LIMITED') NOT NULL;

-- How many mails an address, by the SHA-256 of it in lower case, got in the hour from begun_at on: the next mail after it
-- begins another one. It is kept only while MAX_MAILS limits them.
CREATE TABLE IF NOT EXISTS mail_counts (
  address  BINARY(32)  NOT NULL,
  begun_at DATETIME(6) NOT NULL,
  mails    INT         NOT NULL,
  PRIMARY KEY (address)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE mail_counts;
ALTER TABLE notifications MODIFY status ENUM('CLAIMED', 'SENT', 'SUPPRESSED') NOT NULL;
