BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE event (
	id INTEGER NOT NULL, 
	participant VARCHAR(64), 
	kind VARCHAR(64) NOT NULL, 
	data TEXT NOT NULL, 
	time FLOAT NOT NULL, 
	CONSTRAINT pk_event PRIMARY KEY (id), 
	CONSTRAINT fk_event_participant FOREIGN KEY(participant) REFERENCES participant (id)
);
CREATE TABLE participant (
	id VARCHAR(64) NOT NULL, 
	token_sha256 VARCHAR(64) NOT NULL, 
	consent_version VARCHAR(12) NOT NULL, 
	consented FLOAT NOT NULL, 
	finished FLOAT, 
	CONSTRAINT pk_participant PRIMARY KEY (id), 
	CONSTRAINT uq_participant_token_sha256 UNIQUE (token_sha256)
);
INSERT INTO "participant" VALUES('cd50147ed379e3ff','a3d4d635bcdedc4aa87437620205534303fc7e96a275bca9e8fbc534cf5a0c0d','e3574082fbd2',1.79585878556021213536e+09,1.7958587857975742817e+09);
INSERT INTO "participant" VALUES('1e1444bcd4acc474','0976dad4ea69313c7b2585df8060ffa3f892dbb797f041b98d4b6ab8cd87d7e5','e3574082fbd2',1.79585878580772161485e+09,1.79585878661235928536e+09);
INSERT INTO "participant" VALUES('9dfff557e6af2c01','ddc20c5d0da2b80450ecc2515ffa29e15bcb027f7333387c73f7ab4a28d14883','e3574082fbd2',1.7958587867702186108e+09,1.79585878789951467514e+09);
CREATE TABLE study (
	id INTEGER NOT NULL, 
	design TEXT NOT NULL, 
	digest VARCHAR(12) NOT NULL, 
	created FLOAT NOT NULL, 
	CONSTRAINT pk_study PRIMARY KEY (id), 
	CONSTRAINT ck_study_one CHECK (id = 1)
);
INSERT INTO "study" VALUES(1,'{
 "title": "Comparison of pictures",
 "methods": [
  "dmd",
  "teacher"
 ],
 "prompts": [
  "a star",
  "a circle"
 ],
 "seeds": [
  0,
  1
 ],
 "pairs": [
  [
   "dmd",
   "teacher"
  ]
 ],
 "criteria": [
  {
   "name": "diversity",
   "question": "Which side is more diverse?",
   "explanation": "Diversity is variation in overall composition, global and local structure, and semantic attributes across the samples of a side, which were all made from the same prompt.",
   "gold": false
  },
  {
   "name": "quality",
   "question": "Which side has the better image quality?",
   "explanation": "Image quality is semantic and statistical fidelity, and naturalness.",
   "gold": true
  }
 ],
 "votes_per_item": 3,
 "trials": 2,
 "gold": 2,
 "repeats": 2,
 "ties": true,
 "max_gold_failures": 1,
 "expires_minutes": 30.0,
 "consent": "You will compare pictures that computer models made from a short text. Your answers are stored with the time they took, under a random number and without your name, and are used for research. Taking part is voluntary, and you may stop at any time; the answers that you gave until then are kept.",
 "instructions": "Each question shows one text and two sheets of pictures that two methods made from it. Look at all pictures of both sheets, then answer each question on its own: the better sheet of one question need not be that of the other. The first trial is for practice.",
 "seed": 0,
 "pictures": "ec78f00d68f5"
}','0dbff6500bbf',1.79585878193008732792e+09);
CREATE TABLE trial (
	id VARCHAR(64) NOT NULL, 
	participant VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	item INTEGER, 
	prompt INTEGER NOT NULL, 
	left_method TEXT NOT NULL, 
	right_method TEXT NOT NULL, 
	expected VARCHAR(16), 
	repeats VARCHAR(64), 
	left_image VARCHAR(64) NOT NULL, 
	right_image VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	given FLOAT NOT NULL, 
	reserved_until FLOAT NOT NULL, 
	shown FLOAT, 
	CONSTRAINT pk_trial PRIMARY KEY (id), 
	CONSTRAINT fk_trial_participant FOREIGN KEY(participant) REFERENCES participant (id), 
	CONSTRAINT fk_trial_repeats FOREIGN KEY(repeats) REFERENCES trial (id), 
	CONSTRAINT uq_trial_participant_position UNIQUE (participant, position), 
	CONSTRAINT uq_trial_left_image UNIQUE (left_image), 
	CONSTRAINT uq_trial_right_image UNIQUE (right_image), 
	CONSTRAINT ck_trial_sides CHECK (left_method <> right_method), 
	CONSTRAINT ck_trial_kind CHECK (kind IN ('practice', 'real', 'gold', 'repeat')), 
	CONSTRAINT ck_trial_state CHECK (state IN ('open', 'answered', 'skipped'))
);
INSERT INTO "trial" VALUES('84d8a098f2a25c98a23ec4da','cd50147ed379e3ff',0,'practice',1,1,'teacher','dmd',NULL,NULL,'ywTHgn2oJ9qEY7A4pk3rIaQk','OYZi_3gUcPVLZhxuR2ttg1RX','answered',1.79585878557468461985e+09,1.79586058557468461992e+09,NULL);
INSERT INTO "trial" VALUES('ed1fb22e13693ac45db2c802','cd50147ed379e3ff',1,'real',0,0,'dmd','teacher',NULL,NULL,'CiB2KXkWXzhI6bRiE83VG8XA','N35NEDCon-_83k49l3AEVHLX','answered',1.79585878570088601112e+09,1.79586058570088601118e+09,NULL);
INSERT INTO "trial" VALUES('c55f57100e6ddac481895ab8','cd50147ed379e3ff',2,'real',1,1,'teacher','dmd',NULL,NULL,'7UAjl4NZKescMMlXcS9FXGj-','Ln_yCzPCO8jVv4m-RwOGG5kT','answered',1.79585878574068093303e+09,1.79586058574068093297e+09,NULL);
INSERT INTO "trial" VALUES('b1b76b7cc49f10a08fbf166f','cd50147ed379e3ff',3,'gold',NULL,1,'spoiled','dmd','right',NULL,'k_bzS6KVhNFzmP6BMm0dXl4C','5fCixE_NlF1WbzbZA6F_uBCx','answered',1.79585878575391530995e+09,1.79586058575391530989e+09,NULL);
INSERT INTO "trial" VALUES('07df56885821d7acdb55ef85','cd50147ed379e3ff',4,'gold',NULL,0,'teacher','spoiled','left',NULL,'8gMalX2p5nulds1zGgyfDp6t','DkHouaX_DZzxE9iwzJ9rtgcb','answered',1.79585878576478314401e+09,1.79586058576478314399e+09,NULL);
INSERT INTO "trial" VALUES('c0af209db28198f0780df921','cd50147ed379e3ff',5,'repeat',1,1,'dmd','teacher',NULL,'c55f57100e6ddac481895ab8','vNeI-PSjosYEZ9WVLln6HAox','XdKtp7qbQbXz7hBpZbMJ45RV','answered',1795858785.77789,1795860585.77789,NULL);
INSERT INTO "trial" VALUES('94f9a2e888ffdbbaa7cd09e3','cd50147ed379e3ff',6,'repeat',0,0,'teacher','dmd',NULL,'ed1fb22e13693ac45db2c802','tumCi5BZEuGAsytorQigGxTU','9UAcskp7fm6LSDycd2mnbd5P','answered',1.79585878579195189477e+09,1.79586058579195189475e+09,NULL);
INSERT INTO "trial" VALUES('9894beb80841bc66990d1088','1e1444bcd4acc474',0,'practice',0,0,'teacher','dmd',NULL,NULL,'K_n4vowTVnKBZrgYGlBzD2Bs','Irh9HHBuNazlCiWZF3Bdfmg3','answered',1.7958587858134508133e+09,1.79586058581345081328e+09,NULL);
INSERT INTO "trial" VALUES('32db6f01ffb02ed300ad21a8','1e1444bcd4acc474',1,'real',1,1,'dmd','teacher',NULL,NULL,'ummlLx6LfOi-vXvRWJ0hJgbQ','MTfcA-GmbOx2O4wAvD2cpHO6','answered',1.79585878587133955953e+09,1.79586058587133955959e+09,NULL);
INSERT INTO "trial" VALUES('daa645ab60f1be283138d861','1e1444bcd4acc474',2,'real',0,0,'teacher','dmd',NULL,NULL,'Z-Krv5txIM-EQdlNvMBn9nUH','3J_3xEso2w88aBWV0YEPC5Nj','answered',1.79585878592122101787e+09,1.7958605859212210178e+09,NULL);
INSERT INTO "trial" VALUES('3f454b8b831143d38feb9614','1e1444bcd4acc474',3,'gold',NULL,0,'spoiled','teacher','right',NULL,'RDmbLRGFz_QYRy7SLfeVlSI2','lVlwv8qypXhlyS0RUheUlk1M','answered',1.79585878608829927448e+09,1.79586058608829927441e+09,NULL);
INSERT INTO "trial" VALUES('0bb7f8c85163b0342b1651bc','1e1444bcd4acc474',4,'gold',NULL,1,'dmd','spoiled','left',NULL,'KrJDWIVPciMcLt1wpADsQBpQ','qiP9-7WMcTAdaCwoYvQBi2HT','answered',1.79585878617460203174e+09,1.79586058617460203167e+09,NULL);
INSERT INTO "trial" VALUES('6d0beb9cad22aff12ca869ae','1e1444bcd4acc474',5,'repeat',0,0,'dmd','teacher',NULL,'daa645ab60f1be283138d861','Mz_QrkTY7VZcpsNEJseVCIyx','Pb37Bs1LNUgv7eElmwwnTJbn','answered',1.79585878629125666617e+09,1.79586058629125666619e+09,NULL);
INSERT INTO "trial" VALUES('790f19b0e30f903ffbb65c63','1e1444bcd4acc474',6,'repeat',1,1,'teacher','dmd',NULL,'32db6f01ffb02ed300ad21a8','v1Bp4Qb24U3_jjkoDbm_ECPP','5HI7J6cV69R7eUu_AbqrlRLV','answered',1.79585878649963760376e+09,1.79586058649963760383e+09,NULL);
INSERT INTO "trial" VALUES('1f2466ff1223b34ad8121bc1','9dfff557e6af2c01',0,'practice',0,0,'dmd','teacher',NULL,NULL,'WLMyWfcB_SJWwlz_c6kj_LpO','szZWEg13emdUN0qD8Fe2bJjp','answered',1.79585878679253411289e+09,1.79586058679253411296e+09,NULL);
INSERT INTO "trial" VALUES('0b137c7925c901c75eea1e67','9dfff557e6af2c01',1,'real',1,1,'dmd','teacher',NULL,NULL,'AuOQpg-BhUb0-K5L2l_QdIus','p-nLLOhD29c-hP_MCNVjmkGf','answered',1.79585878698304128651e+09,1.79586058698304128645e+09,NULL);
INSERT INTO "trial" VALUES('e1fb2a96fc178c831b52d16f','9dfff557e6af2c01',2,'real',0,0,'teacher','dmd',NULL,NULL,'VjHAu9JBn_fYyHnw6D5QPnPf','hA8YhebMk7S31QBvdipiyFSp','answered',1.79585878714303112026e+09,1.79586058714303112033e+09,NULL);
INSERT INTO "trial" VALUES('6514a8da830ff305f17f6c3d','9dfff557e6af2c01',3,'gold',NULL,1,'teacher','spoiled','left',NULL,'UjNUIQ3Zet04yUO5n_rkHcz8','Y5QlgtVEk0GpHhXk9Jx4APXL','answered',1.79585878738885354995e+09,1.79586058738885354993e+09,NULL);
INSERT INTO "trial" VALUES('d416f15f2c7d9ac7e0e133f1','9dfff557e6af2c01',4,'gold',NULL,0,'spoiled','dmd','right',NULL,'S6qsRpL9g1Ylc7Lp4KI46yMm','UT6T5Wl2r3qdYKH7ve2KBlg_','answered',1.79585878745012044906e+09,1.79586058745012044903e+09,NULL);
INSERT INTO "trial" VALUES('835a9efb6497d4dd6ec1e023','9dfff557e6af2c01',5,'repeat',0,0,'dmd','teacher',NULL,'e1fb2a96fc178c831b52d16f','BXpcQe_vnUl_eDNgyC5y04y6','Sgj8M5Y9v9nH4oHGisIh4VFp','answered',1.79585878777751827245e+09,1.79586058777751827238e+09,NULL);
INSERT INTO "trial" VALUES('4e9963fc593b44e88bf65f93','9dfff557e6af2c01',6,'repeat',1,1,'teacher','dmd',NULL,'0b137c7925c901c75eea1e67','FgWHDNNMq8on_ypvQ5_4fbfs','f6QWAclyS-I-keMJUgZGqUgr','answered',1.79585878787949132918e+09,1.7958605878794913292e+09,NULL);
CREATE TABLE vote (
	id INTEGER NOT NULL, 
	trial VARCHAR(64) NOT NULL, 
	criterion TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	choice VARCHAR(16) NOT NULL, 
	skip_reason TEXT NOT NULL, 
	seconds FLOAT NOT NULL, 
	client_id VARCHAR(36) NOT NULL, 
	received FLOAT NOT NULL, 
	CONSTRAINT pk_vote PRIMARY KEY (id), 
	CONSTRAINT fk_vote_trial FOREIGN KEY(trial) REFERENCES trial (id), 
	CONSTRAINT uq_vote_trial_criterion_revision UNIQUE (trial, criterion, revision), 
	CONSTRAINT uq_vote_client_id_criterion UNIQUE (client_id, criterion), 
	CONSTRAINT ck_vote_choice CHECK (choice IN ('left', 'right', 'tie', 'skip', 'undone'))
);
INSERT INTO "vote" VALUES(1,'84d8a098f2a25c98a23ec4da','diversity',0,'tie','',4.04843781807775471293e-02,'e10862b6-71cd-4751-a2e0-90a9797e5e6b',1.79585878565963697438e+09);
INSERT INTO "vote" VALUES(2,'84d8a098f2a25c98a23ec4da','quality',0,'left','',4.04843781807775471293e-02,'e10862b6-71cd-4751-a2e0-90a9797e5e6b',1.79585878565963697438e+09);
INSERT INTO "vote" VALUES(3,'ed1fb22e13693ac45db2c802','diversity',0,'right','',3.58049374694988320477e-01,'5b900441-e25e-4b9b-b86b-0c8c13dde0ce',1.79585878573013138772e+09);
INSERT INTO "vote" VALUES(4,'ed1fb22e13693ac45db2c802','quality',0,'right','',3.58049374694988320477e-01,'5b900441-e25e-4b9b-b86b-0c8c13dde0ce',1.79585878573013138772e+09);
INSERT INTO "vote" VALUES(5,'c55f57100e6ddac481895ab8','diversity',0,'left','',9.87259201033012900872e-01,'add1b226-a4e3-466c-92e9-80f96b37282f',1.79585878574873566626e+09);
INSERT INTO "vote" VALUES(6,'c55f57100e6ddac481895ab8','quality',0,'right','',9.87259201033012900872e-01,'add1b226-a4e3-466c-92e9-80f96b37282f',1.79585878574873566626e+09);
INSERT INTO "vote" VALUES(7,'b1b76b7cc49f10a08fbf166f','diversity',0,'left','',9.87633446591477115461e-02,'1aa2ff43-129b-4dab-a661-48ae83bac893',1.79585878575997281072e+09);
INSERT INTO "vote" VALUES(8,'b1b76b7cc49f10a08fbf166f','quality',0,'tie','',9.87633446591477115461e-02,'1aa2ff43-129b-4dab-a661-48ae83bac893',1.79585878575997281072e+09);
INSERT INTO "vote" VALUES(9,'07df56885821d7acdb55ef85','diversity',0,'right','',5.59813679014900311692e-01,'bbde70d4-c20d-43cb-974b-92f3d82b4655',1.79585878576943874362e+09);
INSERT INTO "vote" VALUES(10,'07df56885821d7acdb55ef85','quality',0,'tie','',5.59813679014900311692e-01,'bbde70d4-c20d-43cb-974b-92f3d82b4655',1.79585878576943874362e+09);
INSERT INTO "vote" VALUES(11,'c0af209db28198f0780df921','diversity',0,'right','',4.42693359146341114396e-01,'4c78c2ac-4e1f-41fb-93c8-8b7f57bae924',1.79585878578382611273e+09);
INSERT INTO "vote" VALUES(12,'c0af209db28198f0780df921','quality',0,'left','',4.42693359146341114396e-01,'4c78c2ac-4e1f-41fb-93c8-8b7f57bae924',1.79585878578382611273e+09);
INSERT INTO "vote" VALUES(13,'94f9a2e888ffdbbaa7cd09e3','diversity',0,'left','',7.19704686403954130291e-01,'8e63853b-8761-4d64-84d6-0cb4c6777575',1.7958587857975742817e+09);
INSERT INTO "vote" VALUES(14,'94f9a2e888ffdbbaa7cd09e3','quality',0,'left','',7.19704686403954130291e-01,'8e63853b-8761-4d64-84d6-0cb4c6777575',1.7958587857975742817e+09);
INSERT INTO "vote" VALUES(15,'9894beb80841bc66990d1088','diversity',0,'left','',8.28063278403898817003e-01,'f5b5a0ec-0fef-49c2-aade-f8d417f7d6a4',1.79585878582624578481e+09);
INSERT INTO "vote" VALUES(16,'9894beb80841bc66990d1088','quality',0,'left','',8.28063278403898817003e-01,'f5b5a0ec-0fef-49c2-aade-f8d417f7d6a4',1.79585878582624578481e+09);
INSERT INTO "vote" VALUES(17,'32db6f01ffb02ed300ad21a8','diversity',0,'left','',9.17018969114949844545e-01,'42b5dd4d-93f8-48ca-89e4-29139656999c',1.79585878589872670178e+09);
INSERT INTO "vote" VALUES(18,'32db6f01ffb02ed300ad21a8','quality',0,'right','',9.17018969114949844545e-01,'42b5dd4d-93f8-48ca-89e4-29139656999c',1.79585878589872670178e+09);
INSERT INTO "vote" VALUES(19,'daa645ab60f1be283138d861','diversity',0,'left','',9.12159538302258487973e-02,'638367d0-b78e-46c1-85b9-08621c73c5bc',1.7958587860520665645e+09);
INSERT INTO "vote" VALUES(20,'daa645ab60f1be283138d861','quality',0,'tie','',9.12159538302258487973e-02,'638367d0-b78e-46c1-85b9-08621c73c5bc',1.7958587860520665645e+09);
INSERT INTO "vote" VALUES(21,'3f454b8b831143d38feb9614','diversity',0,'tie','',3.01446792120242390566e-01,'1e5fe5a9-721c-4757-b526-2595a5ed44b5',1.79585878613843488694e+09);
INSERT INTO "vote" VALUES(22,'3f454b8b831143d38feb9614','quality',0,'right','',3.01446792120242390566e-01,'1e5fe5a9-721c-4757-b526-2595a5ed44b5',1.79585878613843488694e+09);
INSERT INTO "vote" VALUES(23,'0bb7f8c85163b0342b1651bc','diversity',0,'right','',9.63838545973800919774e-01,'d9e3eb5a-dfae-4d50-9578-85504ad82baf',1.79585878625510406494e+09);
INSERT INTO "vote" VALUES(24,'0bb7f8c85163b0342b1651bc','quality',0,'tie','',9.63838545973800919774e-01,'d9e3eb5a-dfae-4d50-9578-85504ad82baf',1.79585878625510406494e+09);
INSERT INTO "vote" VALUES(25,'6d0beb9cad22aff12ca869ae','diversity',0,'right','',9.16320949516210569996e-02,'e3ae4376-be2c-4c9a-b2ac-4f1b8c81f2db',1.79585878636430931092e+09);
INSERT INTO "vote" VALUES(26,'6d0beb9cad22aff12ca869ae','quality',0,'right','',9.16320949516210569996e-02,'e3ae4376-be2c-4c9a-b2ac-4f1b8c81f2db',1.79585878636430931092e+09);
INSERT INTO "vote" VALUES(27,'790f19b0e30f903ffbb65c63','diversity',0,'left','',6.12773179868606687747e-01,'efdbf183-7fb7-4e0e-a191-322d50c753a7',1.79585878661235928536e+09);
INSERT INTO "vote" VALUES(28,'790f19b0e30f903ffbb65c63','quality',0,'tie','',6.12773179868606687747e-01,'efdbf183-7fb7-4e0e-a191-322d50c753a7',1.79585878661235928536e+09);
INSERT INTO "vote" VALUES(29,'1f2466ff1223b34ad8121bc1','diversity',0,'tie','',8.98243611955936716029e-02,'4d2fcc2d-9f0e-4ca8-bcc1-409fe809cd2d',1.79585878688938760752e+09);
INSERT INTO "vote" VALUES(30,'1f2466ff1223b34ad8121bc1','quality',0,'right','',8.98243611955936716029e-02,'4d2fcc2d-9f0e-4ca8-bcc1-409fe809cd2d',1.79585878688938760752e+09);
INSERT INTO "vote" VALUES(31,'0b137c7925c901c75eea1e67','diversity',0,'left','',8.42460223140182429268e-01,'656a6466-a01d-43c5-8bb1-ebd0b24ca143',1.79585878707889652246e+09);
INSERT INTO "vote" VALUES(32,'0b137c7925c901c75eea1e67','quality',0,'tie','',8.42460223140182429268e-01,'656a6466-a01d-43c5-8bb1-ebd0b24ca143',1.79585878707889652246e+09);
INSERT INTO "vote" VALUES(33,'e1fb2a96fc178c831b52d16f','diversity',0,'tie','',8.37865231225515816326e-01,'83ceb35d-b306-4281-ac7f-2fd33cc5a902',1.79585878724750757219e+09);
INSERT INTO "vote" VALUES(34,'e1fb2a96fc178c831b52d16f','quality',0,'tie','',8.37865231225515816326e-01,'83ceb35d-b306-4281-ac7f-2fd33cc5a902',1.79585878724750757219e+09);
INSERT INTO "vote" VALUES(35,'6514a8da830ff305f17f6c3d','diversity',0,'tie','',4.50563106631155174675e-01,'b79e88d4-749b-484a-81b6-a503186af3fd',1.79585878741974830623e+09);
INSERT INTO "vote" VALUES(36,'6514a8da830ff305f17f6c3d','quality',0,'left','',4.50563106631155174675e-01,'b79e88d4-749b-484a-81b6-a503186af3fd',1.79585878741974830623e+09);
INSERT INTO "vote" VALUES(37,'d416f15f2c7d9ac7e0e133f1','diversity',0,'right','',3.24324843382709504524e-01,'100049f5-7df0-42cd-b859-a41bcc662725',1.79585878758076548577e+09);
INSERT INTO "vote" VALUES(38,'d416f15f2c7d9ac7e0e133f1','quality',0,'tie','',3.24324843382709504524e-01,'100049f5-7df0-42cd-b859-a41bcc662725',1.79585878758076548577e+09);
INSERT INTO "vote" VALUES(39,'835a9efb6497d4dd6ec1e023','diversity',0,'right','',2.43035622061856249054e-01,'e7a1ba69-5de1-41f4-a5ae-10453454f3f5',1.79585878785772538185e+09);
INSERT INTO "vote" VALUES(40,'835a9efb6497d4dd6ec1e023','quality',0,'tie','',2.43035622061856249054e-01,'e7a1ba69-5de1-41f4-a5ae-10453454f3f5',1.79585878785772538185e+09);
INSERT INTO "vote" VALUES(41,'4e9963fc593b44e88bf65f93','diversity',0,'left','',3.72060193081073187215e-01,'1b43f22d-523a-4033-b837-eac516e69a8b',1.79585878789951467514e+09);
INSERT INTO "vote" VALUES(42,'4e9963fc593b44e88bf65f93','quality',0,'right','',3.72060193081073187215e-01,'1b43f22d-523a-4033-b837-eac516e69a8b',1.79585878789951467514e+09);
CREATE INDEX ix_trial_item ON trial (item);
COMMIT;
